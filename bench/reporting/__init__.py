"""Tables, figures and claims of a suite, all computed from sealed or published runs."""
