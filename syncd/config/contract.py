"""What does `contract` of a stream say: what becomes of new fields and of wrong types?"""

from syncd.config.reading import Node
from syncd.config.settings import ContractSettings, StreamSettings

NEW_FIELDS = ["discard", "evolve", "freeze", "dead-letter"]
WRONG_TYPES = ["dead-letter", "freeze", "discard", "evolve"]


def read_contract(node: Node) -> ContractSettings:
    """The table `contract`; without it, new fields are left out and wrong types put aside."""
    table = node.table("contract")
    if table is None:
        return ContractSettings()
    settings = ContractSettings(
        new_fields=table.choice("new_fields", NEW_FIELDS, "discard"),
        wrong_types=table.choice("wrong_types", WRONG_TYPES, "dead-letter"),
        ignore=table.texts("ignore", (), example="_links"),
    )
    table.finish()
    return settings


def check_contract(node: Node, stream: StreamSettings) -> None:
    """Note what can't be together."""
    for field in stream.contract.ignore:
        if field in stream.columns and stream.paths.get(field, field) == field:
            node.fault_at(("contract", "ignore"), f"{field!r} is a column; leave it out in one")
