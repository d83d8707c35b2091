"""From images to W+ codes: latent statistics, the encoder and its training, and refinement by gradient."""
