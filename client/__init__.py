"""The Flower ClientApp: a device that holds sparse images and trains the subnet it is given."""
