"""The Flower ClientApp: a device that holds sparse images and trains the part it is given."""
