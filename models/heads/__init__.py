"""What turns the members' outputs into labels and uncertainties: pure functions of tensors, one file per label kind."""
