"""What the networks of detection and classification share: files of tensors and of start weights."""
