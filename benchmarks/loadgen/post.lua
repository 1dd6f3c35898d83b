-- wrk: one POST body from a file, over and over; prints one line of JSON at the end.
local file = assert(io.open(os.getenv("LOADGEN_BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
for pair in string.gmatch(os.getenv("LOADGEN_HEADERS"), "[^\n]+") do
  local name, value = string.match(pair, "^([^:]+): (.*)$")
  wrk.headers[name] = value
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    "\nRESULT {\"requests\": %d, \"seconds\": %.6f, \"errors\": %d, \"p50_ms\": %.4f, \"p99_ms\": %.4f}\n",
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
