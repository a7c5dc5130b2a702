// Figure 1, custom: a cyclic graph with a shape of its own. Retrieval is graded and asked again in other words; the
// draft is reviewed by a person, who may send it back; personal data never reaches the model.
func.func @support(%ticket: !agent.text) -> !agent.text attributes {agent.graph} {
  %clean = data.filter "redact"(%ticket) function "redact" {removes = ["email", "phone", "card"], core_s = 4.0e-3 : f64} : (!agent.text) -> !agent.text
  cf.br ^retrieve(%clean : !agent.text)

^retrieve(%question: !agent.text):
  %vector = llm.embed "embed"(%question) model "bge-small" {core_s = 8.0e-3 : f64} : (!agent.text) -> !agent.embedding<384>
  %docs = mem.search "search"(%vector) in "tickets" {k = 12 : i64, core_s = 3.0e-3 : f64} : (!agent.embedding<384>) -> !agent.docs
  %graded = data.apply "grade_prompt"(%question, %docs) function "grade_prompt" {core_s = 1.0e-4 : f64} : (!agent.text, !agent.docs) -> !agent.messages
  %grade = llm.call "grade"(%graded) model "llama-3-8b" {isl = 1500 : i64, osl = 5 : i64, max_tokens = 10 : i64} : (!agent.messages) -> !agent.text
  %poor = agent.choose "is_poor"(%grade) function "is_poor" {core_s = 1.0e-4 : f64} : (!agent.text) -> i1
  cf.cond_br %poor, ^rewrite, ^draft(%docs : !agent.docs) {agent.weights = [0.3 : f64, 0.7 : f64], agent.at_most = 2 : i64}

^rewrite:
  %ask_again = data.apply "rewrite_prompt"(%question) function "rewrite_prompt" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.messages
  %other_words = llm.call "rewrite"(%ask_again) model "llama-3-8b" {isl = 200 : i64, osl = 40 : i64, max_tokens = 100 : i64} : (!agent.messages) -> !agent.text
  cf.br ^retrieve(%other_words : !agent.text)

^draft(%sources: !agent.docs):
  %prompt = data.apply "draft_prompt"(%question, %sources) function "draft_prompt" {core_s = 1.0e-4 : f64} : (!agent.text, !agent.docs) -> !agent.messages
  // A mixture of experts writes: decompose-moe shows its parts.
  %draft = llm.call "draft"(%prompt) model "mixtral-8x7b" {isl = 1800 : i64, osl = 250 : i64, max_tokens = 600 : i64} : (!agent.messages) -> !agent.text
  %verdict = agent.interrupt "review"(%draft) {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.text
  %rejected = agent.choose "is_rejected"(%verdict) function "is_rejected" {core_s = 1.0e-4 : f64} : (!agent.text) -> i1
  cf.cond_br %rejected, ^draft(%sources : !agent.docs), ^send {agent.weights = [0.2 : f64, 0.8 : f64], agent.at_most = 3 : i64}

^send:
  %kept = mem.store "file"(%draft) into "tickets" {core_s = 2.0e-3 : f64} : (!agent.text) -> !agent.text
  func.return %kept : !agent.text
}
