from concurrent.futures import as_completed, wait

from scaler_trio import Client, SchedulerClusterCombo


def square(x):
    return x * x


def fail(x):
    raise ValueError(f"no {x}")


if __name__ == "__main__":
    with SchedulerClusterCombo(2) as cluster, Client(cluster.get_address()) as client, client.executor() as executor:
        print(list(executor.map(square, range(6), chunksize=2)))
        futures = {executor.submit(square, n): n for n in range(4)}
        print(sorted((futures[done], done.result()) for done in as_completed(futures)))
        failed = executor.submit(fail, 7)
        assert not wait([failed]).not_done
        print(repr(failed.exception(timeout=30)))
