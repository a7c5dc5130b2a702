// Figure 1, supervisor: one agent hands the work to others and gets it back, until it says that it is done.
func.func @office(%task: !agent.text) -> !agent.text attributes {agent.graph} {
  %chat = data.apply "open"(%task) function "open" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.messages
  cf.br ^supervisor(%chat : !agent.messages)

^supervisor(%state: !agent.messages):
  %order = llm.call "supervisor"(%state) model "llama-3-70b" {isl = 1000 : i64, osl = 60 : i64, max_tokens = 200 : i64} : (!agent.messages) -> !agent.text
  %who = agent.choose "who"(%order) function "assignee" {labels = ["done", "researcher", "mathematician"], core_s = 1.0e-4 : f64} : (!agent.text) -> i32
  cf.switch %who : i32, [
    default: ^done,
    1: ^researcher,
    2: ^mathematician
  ] {agent.weights = [0.35 : f64, 0.4 : f64, 0.25 : f64], agent.at_most = 8 : i64}

// The workers run on smaller models. The researcher embeds the order and searches with it.
^researcher:
  %vector = llm.embed "embed"(%order) model "bge-small" {core_s = 8.0e-3 : f64} : (!agent.text) -> !agent.embedding<384>
  %docs = mem.search "retrieve"(%vector) in "manuals" {k = 8 : i64, core_s = 2.0e-3 : f64} : (!agent.embedding<384>) -> !agent.docs
  %asked = data.apply "ask_researcher"(%order, %docs) function "ask" {core_s = 1.0e-4 : f64} : (!agent.text, !agent.docs) -> !agent.messages
  %report = llm.call "researcher"(%asked) model "llama-3-8b" {isl = 2000 : i64, osl = 200 : i64, max_tokens = 500 : i64} : (!agent.messages) -> !agent.text
  %told = data.apply "hear_researcher"(%state, %report) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.text) -> !agent.messages
  cf.br ^supervisor(%told : !agent.messages)

^mathematician:
  %problem = data.apply "ask_mathematician"(%order) function "ask" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.messages
  %formula = llm.call "mathematician"(%problem) model "llama-3-8b" {isl = 300 : i64, osl = 80 : i64, max_tokens = 200 : i64} : (!agent.messages) -> !agent.text
  %number = tool.invoke "calculate"(%formula) tool "calculator" {core_s = 1.0e-3 : f64} : (!agent.text) -> !agent.json
  %counted = data.apply "hear_mathematician"(%state, %number) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.json) -> !agent.messages
  cf.br ^supervisor(%counted : !agent.messages)

^done:
  func.return %order : !agent.text
}
