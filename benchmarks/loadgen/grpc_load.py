"""Load for a gRPC server: one serialised ModelInfer request, over and over, from threads; prints one line of JSON.

Runs in the peer's environment. Requests are serialised once and answers are not parsed, so that the client costs the
server's cores as little as a Python client can.
"""

import json
import sys
import threading
import time

import grpc


def main(address: str, body: str, clients: int, seconds: float) -> None:
    with open(body, "rb") as file:
        request = file.read()
    latencies: list[float] = []
    errors: list[str] = []
    stop_at = time.perf_counter() + seconds

    def run() -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(address, [*options, ("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
            while (start := time.perf_counter()) < stop_at:
                try:
                    call(request, timeout=30)
                except grpc.RpcError as error:
                    errors.append(str(error))
                    return
                latencies.append(time.perf_counter() - start)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    latencies.sort()
    last = len(latencies) - 1
    result = {
        "requests": len(latencies),
        "seconds": elapsed,
        "errors": len(errors),
        "p50_ms": 1000 * latencies[last // 2] if latencies else 0.0,
        "p99_ms": 1000 * latencies[last * 99 // 100] if latencies else 0.0,
    }
    if errors:
        print(errors[0], file=sys.stderr)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
