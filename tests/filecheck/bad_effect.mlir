// RUN: weft opt %s -p dce
// FAIL: step 'mail': declares the effect 'sometimes'; write one of none, reads, idempotent, writes
func.func @ask(%q: !agent.text) -> !agent.text attributes {agent.graph} {
  %x = tool.invoke "mail"(%q) tool "mail" {effect = "sometimes", core_s = 0.1 : f64} : (!agent.text) -> !agent.text
  func.return %q : !agent.text
}
