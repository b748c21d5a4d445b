"""Limits on calls in flight: counts them, queues them before the engine, refuses what is over."""

from genir_server.admission.control import Admission
from genir_server.admission.limits import AdmissionLimits
from genir_server.admission.ticket import Ticket

__all__ = ["Admission", "AdmissionLimits", "Ticket"]
