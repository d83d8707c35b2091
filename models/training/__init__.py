"""GAN training: the discriminator, the images, the loop and its checkpoints."""
