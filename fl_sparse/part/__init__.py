"""Subnets of the MLP: which units, their parameters cut out, and updates put back together."""

from fl_sparse.part.assignment import SCALE_RULES, SubnetAssignment, subnet_scales
from fl_sparse.part.extract import extract
from fl_sparse.part.scatter import Reassembly, SubnetUpdate, reassemble

__all__ = ["SCALE_RULES", "Reassembly", "SubnetAssignment", "SubnetUpdate", "extract", "reassemble", "subnet_scales"]
