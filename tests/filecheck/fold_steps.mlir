// RUN: weft opt %s -p canonicalise
// What folds: moves within a pool, a cache that is loaded as soon as it is stored, exchanges of one shard, a filter of
// what is gone already, a choice of one label. A move to another pool stays, and so does a cache that is away meanwhile.
fleet.pool @a on "h100-sxm" zone "a" {tp = 1 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64}
fleet.pool @b on "h100-sxm" zone "a" {tp = 1 : i64, pp = 1 : i64, replicas = 1 : i64, batch_limit = 1 : i64, usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64}
func.func @ask(%q: !agent.messages) -> !agent.text attributes {agent.graph} {
  %f1 = data.filter "redact"(%q) function "redact" {removes = ["email", "phone"], core_s = 0.001 : f64} : (!agent.messages) -> !agent.messages
  %f2 = data.filter "redact_again"(%f1) function "redact" {removes = ["phone"], core_s = 0.001 : f64} : (!agent.messages) -> !agent.messages
  %kv = llm.prefill "p"(%f2) model "m" {isl = 1 : i64, osl = 1 : i64, max_tokens = 1 : i64, pool = @a} : (!agent.messages) -> !llm.kv<"m">
  %sum = llm.all_reduce "sum"(%kv) shards 1 {bytes = 0 : i64} : (!llm.kv<"m">) -> !llm.kv<"m">
  %here = kv.transfer "here"(%sum) over "roce-400g" {bytes = 1 : i64, pool = @a} : (!llm.kv<"m">) -> !llm.kv<"m">
  %there = kv.transfer "there"(%here) over "roce-400g" {bytes = 1 : i64, pool = @b} : (!llm.kv<"m">) -> !llm.kv<"m">
  %twice = kv.transfer "twice"(%there) over "roce-400g" {bytes = 1 : i64, pool = @b} : (!llm.kv<"m">) -> !llm.kv<"m">
  %away = kv.store "keep"(%twice) in "host" {bytes = 1 : i64, pool = @b} : (!llm.kv<"m">) -> !kv.stored<"m">
  %back = kv.load "back"(%away) {pool = @b} : (!kv.stored<"m">) -> !llm.kv<"m">
  %r = llm.decode "d"(%back) model "m" {isl = 1 : i64, osl = 1 : i64, max_tokens = 1 : i64, pool = @b} : (!llm.kv<"m">) -> !agent.text
  %m = fleet.send "r.send"(%r) to @b {pool = @b} : (!agent.text) -> !fleet.message<!agent.text>
  %h = fleet.recv "r.recv"(%m) {pool = @b} : (!fleet.message<!agent.text>) -> !agent.text
  %c = agent.choose "c"(%h) function "f" {labels = ["only"], core_s = 0.001 : f64} : (!agent.text) -> i32
  cf.switch %c : i32, [default: ^end(%h : !agent.text)] {agent.weights = [1.0 : f64]}
^end(%out: !agent.text):
  func.return %out : !agent.text
}
// CHECK:      %f1 = data.filter "redact"
// CHECK-NEXT: %kv = llm.prefill "p"(%f1)
// CHECK-NEXT: %there = kv.transfer "there"(%kv)
// CHECK-NEXT: kv.store "keep"(%there)
// CHECK-NEXT: %r = llm.decode "d"(%there)
// CHECK-NEXT: fleet.send
// CHECK-NEXT: agent.choose "c"(%r)
// CHECK-NEXT: func.return %r
