"""The catalogue: devices, links, models, objectives, finances, fleets: TOML rows, each with source and date."""

from weft.catalog.agents import AgentRow, load_agents
from weft.catalog.fleets import fleets, load_fleet
from weft.catalog.hardware import PROFILES, device, devices, link, links
from weft.catalog.models import model, models
from weft.catalog.terms import finance, finances, load_workload, slo, slos

__all__ = [
    "PROFILES",
    "AgentRow",
    "device",
    "devices",
    "finance",
    "finances",
    "fleets",
    "link",
    "links",
    "load_agents",
    "load_fleet",
    "load_workload",
    "model",
    "models",
    "slo",
    "slos",
]
