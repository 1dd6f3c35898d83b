"""A child's way to its parent: made once, and used by all that calls it."""

from __future__ import annotations

from edgewise._lib.clock import Clock
from edgewise.link.budget import BudgetSettings
from edgewise.link.client import Client
from edgewise.link.membership import LinkFolder, Membership
from edgewise.link.spending import Spending


class Way:
    """Makes connections to the parent, which share what proves the node and the account of what they cost.

    Args:
        folder: What the node keeps of its link.
        membership: Whose child it is.
        budget: What the way may cost.
        clock: Time.

    Attributes:
        membership: Whose child the node is.
        spending: The account.
    """

    def __init__(self, folder: LinkFolder, membership: Membership, *, budget: BudgetSettings, clock: Clock) -> None:
        self.membership = membership
        self.spending = Spending(budget, budget=folder.budget(), keep=folder.keep_budget, clock=clock)
        self._folder = folder
        self._credentials = folder.credentials(membership)

    def connect(self) -> Client:
        """A connection, whose bytes are put down to the account; nothing is sent before it is used."""
        client = self._folder.client(self.membership, self._credentials)
        client.spent = self.spending.spend
        return client
