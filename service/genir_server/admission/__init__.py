"""How many calls are under way, whose turn it is, and what is refused at once."""

from genir_server.admission.gate import Admission, Visit
from genir_server.admission.limits import AdmissionLimits

__all__ = ["Admission", "AdmissionLimits", "Visit"]
