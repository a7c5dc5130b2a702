// RUN: weft opt %s
// FAIL: bad_operand_type.mlir:4: %text = media.transcribe "hear"(%q)
func.func @ask(%q: !agent.text) -> !agent.text attributes {agent.graph} {
  %text = media.transcribe "hear"(%q) {model = "m", core_s = 0.4 : f64} : (!agent.text) -> !agent.text
  func.return %text : !agent.text
}
