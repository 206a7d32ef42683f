package scenario

// Connect finds a lab that is up, for others who change it and look.
func Connect(name string) (*Lab, error) { return connect(name, func(string, ...any) {}) }

// Env is one variable of the lab's environment.
func (l *Lab) Env(name string) string { return l.env[name] }

// Environ is this process's environment with the lab's over it.
func (l *Lab) Environ() []string { return l.environ() }

// Bin is the folder of the lab's programs.
func (l *Lab) Bin() string { return l.bin }
