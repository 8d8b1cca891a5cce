from derive import *
from runtime import *

__version__: str
