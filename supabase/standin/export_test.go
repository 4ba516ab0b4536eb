package standin

// BindingProblem parses the object of a join as the server does and gives what is wrong with it.
func BindingProblem(raw map[string]any) error { return newBinding(raw).problem }
