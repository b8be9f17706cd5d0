using Microsoft.CodeAnalysis;

namespace Vmm.Events.Generators;

/// <summary>What the compiler says of a handler that cannot be one.</summary>
internal static class Rules
{
    private const string Category = "Vmm.Events";

    internal static readonly DiagnosticDescriptor UnknownParameter = Error("VMM001",
        "An event handler cannot be given this parameter",
        "'{0}' of type '{1}' cannot be given to the event handler '{2}': it takes any of its own descriptor (OwnedFd or a type derived "
        + "from it), Readiness, Interest and IReactor, by value");

    internal static readonly DiagnosticDescriptor TakenTwice = Error("VMM002",
        "An event handler takes each thing once",
        "'{0}' takes the event handler's {1} a second time: remove one of the two");

    internal static readonly DiagnosticDescriptor NotPartial = Error("VMM003",
        "The class of an event handler must be partial",
        "'{0}' has the event handler '{1}': make it a partial class, so that its subscription can be added");

    internal static readonly DiagnosticDescriptor NotPlain = Error("VMM004",
        "An event handler returns nothing and runs to its end",
        "'{0}' is {1}: an event handler is a plain method that returns void and ends before the reactor goes on");

    internal static readonly DiagnosticDescriptor NameTaken = Error("VMM005",
        "An event handler has a name of its own",
        "'{0}' has another event handler called '{1}': give it a name of its own, its subscription is called after it");

    private static DiagnosticDescriptor Error(string id, string title, string message) =>
        new(id, title, message, Category, DiagnosticSeverity.Error, isEnabledByDefault: true);
}
