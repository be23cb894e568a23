"""Actors on Trio: mailboxes, references, reactive actors and supervision, for every component, about none of them."""

from scaler_trio.actors.actor import Actor
from scaler_trio.actors.errors import (
    ActorError,
    ActorStopped,
    AskTimeout,
    DuplicateChild,
    EndedUnasked,
    MailboxFull,
    RestartIntensityExceeded,
    StartTimeout,
    TooManyChildren,
    UnknownChild,
)
from scaler_trio.actors.mailbox import Mailbox, MailboxStatistics, WhenFull
from scaler_trio.actors.reactive import ReactiveActor, ReactiveRef
from scaler_trio.actors.reference import ActorRef, Reply
from scaler_trio.actors.specification import ChildSpec, RestartPolicy, Strategy
from scaler_trio.actors.statistics import ActorEvent, ActorEventKind, ActorState, ActorStatistics, ChildKind, EventHook
from scaler_trio.actors.supervisor import Supervisor
from scaler_trio.actors.tree import ActorTree, EndByOrder, open_actor_tree, run_actor_tree

__all__ = [
    "Actor",
    "ActorError",
    "ActorEvent",
    "ActorEventKind",
    "ActorRef",
    "ActorState",
    "ActorStatistics",
    "ActorStopped",
    "ActorTree",
    "AskTimeout",
    "ChildKind",
    "ChildSpec",
    "DuplicateChild",
    "EndByOrder",
    "EndedUnasked",
    "EventHook",
    "Mailbox",
    "MailboxFull",
    "MailboxStatistics",
    "ReactiveActor",
    "ReactiveRef",
    "Reply",
    "RestartIntensityExceeded",
    "RestartPolicy",
    "StartTimeout",
    "Strategy",
    "Supervisor",
    "TooManyChildren",
    "UnknownChild",
    "WhenFull",
    "open_actor_tree",
    "run_actor_tree",
]
