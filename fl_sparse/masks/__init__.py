"""Which patches of an image are kept. A keep mask is True where a patch is *kept*, False where it is hidden."""
