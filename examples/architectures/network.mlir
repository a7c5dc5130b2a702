// Figure 1, network of peers: nobody leads. Each agent answers and says who speaks next: either peer, or nobody.
func.func @newsroom(%task: !agent.text) -> !agent.messages attributes {agent.graph} {
  %chat = data.apply "open"(%task) function "open" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.messages
  cf.br ^researcher(%chat : !agent.messages)

^researcher(%found_so_far: !agent.messages):
  %fact = llm.call "researcher"(%found_so_far) model "llama-3-8b" {isl = 900 : i64, osl = 150 : i64, max_tokens = 400 : i64} : (!agent.messages) -> !agent.text
  %facts = data.apply "add_fact"(%found_so_far, %fact) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.text) -> !agent.messages
  %after_fact = agent.choose "after_researcher"(%fact) function "next_speaker" {labels = ["end", "writer", "critic"], core_s = 1.0e-4 : f64} : (!agent.text) -> i32
  cf.switch %after_fact : i32, [
    default: ^done(%facts : !agent.messages),
    1: ^writer(%facts : !agent.messages),
    2: ^critic(%facts : !agent.messages)
  ] {agent.weights = [0.1 : f64, 0.7 : f64, 0.2 : f64]}

^writer(%written_so_far: !agent.messages):
  %draft = llm.call "writer"(%written_so_far) model "llama-3-8b" {isl = 1200 : i64, osl = 400 : i64, max_tokens = 900 : i64} : (!agent.messages) -> !agent.text
  %drafts = data.apply "add_draft"(%written_so_far, %draft) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.text) -> !agent.messages
  %after_draft = agent.choose "after_writer"(%draft) function "next_speaker" {labels = ["end", "researcher", "critic"], core_s = 1.0e-4 : f64} : (!agent.text) -> i32
  cf.switch %after_draft : i32, [
    default: ^done(%drafts : !agent.messages),
    1: ^researcher(%drafts : !agent.messages),
    2: ^critic(%drafts : !agent.messages)
  ] {agent.weights = [0.3 : f64, 0.1 : f64, 0.6 : f64]}

^critic(%judged_so_far: !agent.messages):
  %remark = llm.call "critic"(%judged_so_far) model "llama-3-8b" {isl = 1600 : i64, osl = 120 : i64, max_tokens = 300 : i64} : (!agent.messages) -> !agent.text
  %remarks = data.apply "add_remark"(%judged_so_far, %remark) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.text) -> !agent.messages
  %after_remark = agent.choose "after_critic"(%remark) function "next_speaker" {labels = ["end", "researcher", "writer"], core_s = 1.0e-4 : f64} : (!agent.text) -> i32
  cf.switch %after_remark : i32, [
    default: ^done(%remarks : !agent.messages),
    1: ^researcher(%remarks : !agent.messages),
    2: ^writer(%remarks : !agent.messages)
  ] {agent.weights = [0.5 : f64, 0.2 : f64, 0.3 : f64]}

^done(%result: !agent.messages):
  func.return %result : !agent.messages
}
