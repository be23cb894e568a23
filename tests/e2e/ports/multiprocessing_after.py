from scaler_trio import Client, SchedulerClusterCombo


def square(x):
    return x * x


def power(base, exponent):
    return base**exponent


if __name__ == "__main__":
    with SchedulerClusterCombo(2) as cluster, Client(cluster.get_address()) as client, client.pool() as pool:
        print(pool.map(square, range(6), chunksize=2))
        print(pool.starmap(power, [(2, 3), (3, 2)]))
        print(sorted(pool.imap_unordered(square, range(4), 2)))
        waiting = [pool.apply_async(power, (2, n)) for n in range(4)]
        print([one.get(timeout=30) for one in waiting])
