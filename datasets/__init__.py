"""Files on disk <-> pixels and COCO. No model, no torch.nn."""
