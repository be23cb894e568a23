"""What a client names in its messages, options and functions, as records of ours."""

from scaler_protocol import limits
from scaler_protocol.messages import TaskOptions
from scaler_trio.scheduler.core.errors import PeerFault
from scaler_trio.scheduler.core.records import Client, Demand, Function
from scaler_trio.scheduler.core.state import SchedulerState


def demand_of(state: SchedulerState, client: Client, options: TaskOptions) -> Demand:
    """The client's record for these options.

    Raises:
        PeerFault: they are of more classes than a client may have.
    """
    demand = client.demands.get(options)
    if demand is None:
        key = (client.python, tuple(sorted(set(options.capabilities))))
        if key not in client.lines and len(client.lines) >= limits.CAPABILITY_CLASSES_PER_CLIENT:
            raise PeerFault(f"tasks ask for more than {limits.CAPABILITY_CLASSES_PER_CLIENT} sets of capabilities")
        if len(client.demands) >= limits.CAPABILITY_CLASSES_PER_CLIENT:
            client.demands.clear()  # names and priorities differ without limit; records in use stay with their tasks
        amounts = tuple([(name, amount) for name, amount in key[1] if amount > 0])
        demand = client.demands[options] = Demand(client, options, key, amounts, state.ready.line(client, key))
    return demand


def function_of(client: Client, number: int) -> Function:
    """The client's function.

    Raises:
        PeerFault: it was not defined on this connection.
    """
    function = client.functions.get(number)
    if function is None:
        raise PeerFault(f"function {number} was not defined on this connection")
    return function
