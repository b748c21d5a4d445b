"""The metric of the time at which the server's certificates expire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric


class CertificateCollector(Collector):
    """Reads at each scrape when the certificates in force expire.

    Attributes:
        expiry: gives the Unix time for each file of certificates; None without TLS.
    """

    def __init__(self) -> None:
        self.expiry: Callable[[], Mapping[str, float]] | None = None

    def collect(self) -> Iterable[Metric]:
        """Returns the one family, without values if the server has no TLS."""
        family = GaugeMetricFamily(
            "genir_certificate_expiry_timestamp_seconds",
            "Unix time at which the first certificate in a file in use expires: tls_cert, "
            "tls_client_ca.",
            labels=["file"],
        )
        for file, expires in (self.expiry() if self.expiry else {}).items():
            family.add_metric([file], expires)
        yield family
