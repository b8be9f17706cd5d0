using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Text;

namespace Vmm.Events.Generators;

/// <summary>
/// What the subscription of a handler is made from, or why it cannot be made. Holds no symbol, so that it can be compared.
/// </summary>
/// <param name="FileHint">A file name for the generated source.</param>
/// <param name="Namespace">The namespace; empty for the global one.</param>
/// <param name="Types">The declarations of the containing types, outermost first, as in <c>class Device&lt;T&gt;</c>.</param>
/// <param name="TypeName">The innermost type's name, for messages.</param>
/// <param name="Method">The handler's name.</param>
/// <param name="Accessibility">The handler's accessibility, as source.</param>
/// <param name="IsStatic">Whether it is called without an object.</param>
/// <param name="OwnsSubscriptions">Whether the type is a Subscriber, to which the subscription then belongs.</param>
/// <param name="DispatchAccessibility">How the subscription's dispatch is declared, as source: the library's friends see more of
/// it.</param>
/// <param name="FdType">The descriptor's type, as source.</param>
/// <param name="Arguments">The handler's arguments, in its order, as source.</param>
/// <param name="Faults">Why not; empty if it can be made.</param>
internal sealed record HandlerModel(
    string FileHint, string Namespace, Sequence<string> Types, string TypeName, string Method, string Accessibility, bool IsStatic,
    bool OwnsSubscriptions, string DispatchAccessibility, string FdType, Sequence<string> Arguments, Sequence<Fault> Faults);

/// <summary>A diagnostic that can be compared.</summary>
internal sealed record Fault(string RuleId, string File, TextSpan Span, LinePositionSpan Lines, Sequence<string> Arguments)
{
    internal static Fault At(Location location, DiagnosticDescriptor rule, params string[] arguments)
    {
        FileLinePositionSpan lines = location.GetLineSpan();
        return new Fault(rule.Id, lines.Path, location.SourceSpan, lines.Span, new Sequence<string>(arguments));
    }

    internal Diagnostic ToDiagnostic()
    {
        DiagnosticDescriptor rule = RuleId switch
        {
            "VMM001" => Rules.UnknownParameter,
            "VMM002" => Rules.TakenTwice,
            "VMM003" => Rules.NotPartial,
            "VMM004" => Rules.NotPlain,
            _ => Rules.NameTaken,
        };
        return Diagnostic.Create(rule, Location.Create(File, Span, Lines), [.. Arguments]);
    }
}
