"""Admission control: which calls are accepted, which wait, which are refused at once."""

from genir_server.admission.gate import Admission, AdmissionTicket
from genir_server.admission.limits import AdmissionLimits

__all__ = ["Admission", "AdmissionLimits", "AdmissionTicket"]
