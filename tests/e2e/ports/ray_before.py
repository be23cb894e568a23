import ray

ray.init(num_cpus=2)


@ray.remote
def square(x):
    return x * x


@ray.remote(max_retries=1)
def total(values, *more):
    return sum(values) + sum(more)


squares = [square.remote(n) for n in range(6)]
print(ray.get(squares))
stored = ray.put(list(range(100)))
print(ray.get(total.remote(stored, squares[2], square.remote(square.remote(2)))))
ready, rest = ray.wait(squares, num_returns=4, timeout=30)
print(len(ready), len(rest))
ray.shutdown()
