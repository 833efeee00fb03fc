"""Tool descriptors: what a wrapped program takes, gives and needs (`tools/<tool>/tool.yaml`)."""
