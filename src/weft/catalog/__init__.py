"""The catalogue: devices, links, models, objectives, finances, fleets: TOML rows, each with source and date."""

from weft.catalog.fleets import fleets, load_fleet
from weft.catalog.hardware import PROFILES, device, devices, link, links
from weft.catalog.models import model, models
from weft.catalog.plans import fingerprints, load_plan
from weft.catalog.terms import finance, finances, load_workload, slo, slos

__all__ = [
    "PROFILES",
    "device",
    "devices",
    "finance",
    "finances",
    "fingerprints",
    "fleets",
    "link",
    "links",
    "load_fleet",
    "load_plan",
    "load_workload",
    "model",
    "models",
    "slo",
    "slos",
]
