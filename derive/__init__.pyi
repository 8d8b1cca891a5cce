"""The public names of `derive`, each with its module, from which it is imported on first use."""

from .errors import InputError as InputError
from .model import Model as Model
from .odes import OverlapODEs as OverlapODEs
from .odes import latex as latex
from .odes import latex_for_any_widths as latex_for_any_widths
from .odes import overlap_odes as overlap_odes
from .proof import Proof as Proof
from .proof import ProofError as ProofError
from .sector import SectorModel as SectorModel
from .sector import SectorODEs as SectorODEs
from .sector import SectorProof as SectorProof
from .sector import sector_odes as sector_odes
from .version import VERSION as VERSION
