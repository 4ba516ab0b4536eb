package stack

// PIDs are those of the latest PostgreSQL and PostgREST.
func (s *Stack) PIDs() (postgres, postgrest int) { return s.postgres.pid(), s.postgrest.pid() }

// Dir is where the stack keeps its files.
func (s *Stack) Dir() string { return s.dir }

// DirectoryPattern matches the directories of test binaries.
const DirectoryPattern = directoryPattern
