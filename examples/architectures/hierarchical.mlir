// Figure 1, hierarchical: teams under a head. Each team is a graph of its own with a lead and its agents; func.call runs
// a graph, and inlining makes one of them all.
func.func @head_office(%task: !agent.text) -> !agent.text attributes {agent.graph} {
  %chat = data.apply "open"(%task) function "open" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.messages
  cf.br ^head(%chat : !agent.messages)

^head(%state: !agent.messages):
  %order = llm.call "head"(%state) model "llama-3-70b" {isl = 1200 : i64, osl = 60 : i64, max_tokens = 200 : i64} : (!agent.messages) -> !agent.text
  %team = agent.choose "team"(%order) function "assignee" {labels = ["done", "research", "writing"], core_s = 1.0e-4 : f64} : (!agent.text) -> i32
  cf.switch %team : i32, [
    default: ^done,
    1: ^research,
    2: ^writing
  ] {agent.weights = [0.34 : f64, 0.33 : f64, 0.33 : f64], agent.at_most = 4 : i64}

^research:
  %findings = func.call @research(%state) : (!agent.messages) -> !agent.messages
  cf.br ^head(%findings : !agent.messages)

^writing:
  %text = func.call @writing(%state) : (!agent.messages) -> !agent.messages
  cf.br ^head(%text : !agent.messages)

^done:
  func.return %order : !agent.text
}

func.func @research(%asked: !agent.messages) -> !agent.messages {
  cf.br ^lead(%asked : !agent.messages)

^lead(%state: !agent.messages):
  %order = llm.call "research_lead"(%state) model "llama-3-70b" {isl = 1000 : i64, osl = 50 : i64, max_tokens = 150 : i64} : (!agent.messages) -> !agent.text
  %more = agent.choose "search_more"(%order) function "wants_search" {core_s = 1.0e-4 : f64} : (!agent.text) -> i1
  cf.cond_br %more, ^search, ^done {agent.weights = [0.6 : f64, 0.4 : f64], agent.at_most = 3 : i64}

^search:
  %pages = tool.invoke "search"(%order) tool "search" {corpus = "web", core_s = 2.0e-2 : f64} : (!agent.text) -> !agent.docs
  %prompt = data.apply "searcher_prompt"(%state, %pages) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.docs) -> !agent.messages
  %notes = llm.call "searcher"(%prompt) model "llama-3-8b" {isl = 3000 : i64, osl = 200 : i64, max_tokens = 500 : i64} : (!agent.messages) -> !agent.text
  %told = data.apply "hear_searcher"(%state, %notes) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.text) -> !agent.messages
  cf.br ^lead(%told : !agent.messages)

^done:
  func.return %state : !agent.messages
}

func.func @writing(%asked: !agent.messages) -> !agent.messages {
  %outline = llm.call "writing_lead"(%asked) model "llama-3-70b" {isl = 1500 : i64, osl = 120 : i64, max_tokens = 300 : i64} : (!agent.messages) -> !agent.text
  %prompt = data.apply "writer_prompt"(%asked, %outline) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.text) -> !agent.messages
  %page = llm.call "writer"(%prompt) model "llama-3-8b" {isl = 1700 : i64, osl = 500 : i64, max_tokens = 1000 : i64} : (!agent.messages) -> !agent.text
  %told = data.apply "hear_writer"(%asked, %page) function "append" {core_s = 1.0e-4 : f64} : (!agent.messages, !agent.text) -> !agent.messages
  func.return %told : !agent.messages
}
