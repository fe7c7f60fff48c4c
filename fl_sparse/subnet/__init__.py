"""Subnets of the MLP: which units, their weights cut out, and updates put back together."""

from fl_sparse.subnet.assignment import SubnetAssignment, subnet_scales
from fl_sparse.subnet.extract import extract
from fl_sparse.subnet.reassemble import SubnetUpdate, reassemble

__all__ = ["SubnetAssignment", "SubnetUpdate", "extract", "reassemble", "subnet_scales"]
