"""Parts of models: which units and coordinates a part holds, how it is cut out, and how updates are put back."""

from fl_sparse.part.part import WHOLE, Part, Units, overlap
from fl_sparse.part.scatter import PartUpdate, Reassembly, reassemble

__all__ = ["WHOLE", "Part", "PartUpdate", "Reassembly", "Units", "overlap", "reassemble"]
