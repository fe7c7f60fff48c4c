"""Parts of models: which units and coordinates, their values cut out, and updates put back together."""

from fl_sparse.part.part import WHOLE, Part, Units, overlap
from fl_sparse.part.scatter import PartUpdate, Reassembly, reassemble

__all__ = ["WHOLE", "Part", "PartUpdate", "Reassembly", "Units", "overlap", "reassemble"]
