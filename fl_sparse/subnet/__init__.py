"""Subnets of the MLP: which units, their parameters cut out, and updates put back together."""

from fl_sparse.subnet.assignment import SCALE_RULES, SubnetAssignment, subnet_scales
from fl_sparse.subnet.extract import extract
from fl_sparse.subnet.reassemble import Reassembly, SubnetUpdate, reassemble

__all__ = ["SCALE_RULES", "Reassembly", "SubnetAssignment", "SubnetUpdate", "extract", "reassemble", "subnet_scales"]
