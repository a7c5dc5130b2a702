// RUN: weft opt %s -p insert-sends
// Two steps of one pool take a value of another: one message carries it to both. Within a pool nothing is sent.
fleet.pool @a on "epyc-9965" zone "a" {tp = 1 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64}
fleet.pool @b on "epyc-9965" zone "b" {tp = 1 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64}
func.func @ask(%q: !agent.text) -> !agent.text attributes {agent.graph} {
  %x = data.apply "x"(%q) function "f" {core_s = 0.001 : f64, pool = @a, visits = 2.0 : f64} : (!agent.text) -> !agent.text
  %y = data.apply "y"(%x) function "f" {core_s = 0.001 : f64, pool = @a} : (!agent.text) -> !agent.text
  %z = data.apply "z"(%x) function "f" {core_s = 0.001 : f64, pool = @b} : (!agent.text) -> !agent.text
  cf.br ^next
^next:
  %w = data.apply "w"(%x, %z, %q) function "f" {core_s = 0.001 : f64, pool = @b} : (!agent.text, !agent.text, !agent.text) -> !agent.text
  func.return %w : !agent.text
}
// CHECK:      %x = data.apply "x"(%q)
// CHECK-NEXT: fleet.send "x.send@b"(%x) to @b {visits = 2.000000e+00 : f64, pool = @a, bytes = 1000 : i64}
// CHECK-NEXT: [[HERE:%.*]] = fleet.recv "x.recv@b"
// CHECK-NEXT: data.apply "y"(%x)
// CHECK-NEXT: data.apply "z"([[HERE]])
// CHECK:      data.apply "w"([[HERE]], %z, %q)
