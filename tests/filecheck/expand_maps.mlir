// RUN: weft opt %s -p expand-maps
// A worker of one block runs side by side, once for each item; a worker with control flow item after item.
func.func @report(%topics: !agent.messages) -> !agent.messages attributes {agent.graph} {
  %drafts = agent.map "write" @write(%topics) {width = 2.0 : f64} : (!agent.messages) -> !agent.messages
  %seen = agent.interrupt "review"(%drafts) {core_s = 0.0001 : f64} : (!agent.messages) -> !agent.messages
  %checked = agent.map "check" @check(%seen) {width = 3.0 : f64} : (!agent.messages) -> !agent.messages
  func.return %checked : !agent.messages
}
func.func @write(%topic: !agent.messages) -> !agent.messages {
  %draft = data.apply "draft"(%topic) function "draft" {core_s = 0.001 : f64} : (!agent.messages) -> !agent.messages
  func.return %draft : !agent.messages
}
func.func @check(%draft: !agent.messages) -> !agent.messages {
  %c = agent.choose "route"(%draft) function "route" {core_s = 0.001 : f64, labels = ["good", "bad", "ugly"]} : (!agent.messages) -> i32
  cf.switch %c : i32, [default: ^good(%draft : !agent.messages), 1: ^bad(%draft : !agent.messages), 2: ^bad(%draft : !agent.messages)] {agent.weights = [0.5 : f64, 0.25 : f64, 0.25 : f64]}
^bad(%b: !agent.messages):
  %mended = data.apply "mend"(%b) function "mend" {core_s = 0.001 : f64} : (!agent.messages) -> !agent.messages
  cf.br ^good(%mended : !agent.messages)
^good(%g: !agent.messages):
  func.return %g : !agent.messages
}
// CHECK:      func.func @report
// CHECK-NEXT:   [[FIRST:%.*]] = data.apply "write.item[0]"(%topics) function "item" {{.*}}index = 0
// CHECK-NEXT:   %draft = data.apply "draft[0]"([[FIRST]])
// CHECK-NEXT:   [[SECOND:%.*]] = data.apply "write.item[1]"(%topics) function "item" {{.*}}index = 1
// CHECK-NEXT:   %draft_1 = data.apply "draft[1]"([[SECOND]])
// CHECK-NEXT:   %drafts = data.apply "write"(%draft, %draft_1) function "gather"
// CHECK-NEXT:   %seen = agent.interrupt "review"(%drafts)
// CHECK-NEXT:   [[NOTHING:%.*]] = data.apply "check.nothing"() function "gather"
// CHECK-NEXT:   cf.br ^check.items([[NOTHING]] : !agent.messages)
// CHECK-NEXT: ^check.items([[SOFAR:%.*]]: !agent.messages):
// CHECK-NEXT:   [[ITEM:%.*]] = data.apply "check.item"(%seen, [[SOFAR]]) function "item"
// CHECK-NEXT:   cf.br ^check.0([[ITEM]] : !agent.messages)
// CHECK:      ^check.gathered([[RESULT:%.*]]: !agent.messages):
// CHECK-NEXT:   %checked = data.apply "check"([[SOFAR]], [[RESULT]]) function "gather"
// CHECK-NEXT:   {{.*}}agent.choose "check.next"
// CHECK-NEXT:   cf.cond_br {{.*}} {agent.weights = [1.000000e+00 : f64, 0.000000e+00 : f64], agent.at_most = 2 : i64}
// CHECK:        func.return %checked
// CHECK-NOT:  func.func @write
