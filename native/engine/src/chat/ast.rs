//! A template as a tree, as the parser leaves it and the renderer walks it.

/// A statement, or text between statements.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    Text(String),
    Print(Expression),
    If {
        branches: Vec<(Expression, Vec<Statement>)>,
        otherwise: Vec<Statement>,
    },
    For(Box<For>),
    Set {
        target: Target,
        value: Expression,
    },
    /// The body's output, through the filters, becomes a value.
    SetBlock {
        target: Target,
        filters: Vec<Filter>,
        body: Vec<Statement>,
    },
    With {
        bindings: Vec<(Target, Expression)>,
        body: Vec<Statement>,
    },
    Macro(Box<Macro>),
    /// Calls with the body as `caller`.
    Call {
        body: Box<Macro>,
        call: Expression,
    },
    FilterBlock {
        filters: Vec<Filter>,
        body: Vec<Statement>,
    },
    Break,
    Continue,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct For {
    pub target: Target,
    pub over: Expression,
    pub condition: Option<Expression>,
    pub recursive: bool,
    pub body: Vec<Statement>,
    pub otherwise: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Macro {
    pub name: String,
    pub parameters: Vec<(String, Option<Expression>)>,
    pub body: Vec<Statement>,
    /// Which of `varargs`, `kwargs` and `caller` the body speaks of.
    pub varargs: bool,
    pub kwargs: bool,
    pub caller: bool,
}

/// What an assignment assigns to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    Name(String),
    Attribute(String, String),
    Tuple(Vec<Target>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    pub name: String,
    pub arguments: Arguments,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Arguments {
    pub positional: Vec<Expression>,
    pub named: Vec<(String, Expression)>,
    /// `*list`
    pub list: Option<Box<Expression>>,
    /// `**dict`
    pub dict: Option<Box<Expression>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    Name(String),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
    Attribute(Box<Expression>, String),
    Item(Box<Expression>, Box<Expression>),
    Slice(Box<Expression>, Box<[Option<Expression>; 3]>),
    Call(Box<Expression>, Box<Arguments>),
    Filtered(Box<Expression>, Box<Filter>),
    Test {
        value: Box<Expression>,
        test: Box<Filter>,
        negated: bool,
    },
    Not(Box<Expression>),
    Negative(Box<Expression>),
    Positive(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    /// All operands of `~`.
    Concat(Vec<Expression>),
    /// `a < b <= c`: each neighbouring pair has to hold.
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Conditional {
        condition: Box<Expression>,
        then: Box<Expression>,
        otherwise: Option<Box<Expression>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}
