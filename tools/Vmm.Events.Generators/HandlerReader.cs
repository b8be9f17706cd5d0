using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Vmm.Events.Generators;

/// <summary>Reads the model of a handler from its symbol.</summary>
internal static class HandlerReader
{
    internal const string Attribute = "Vmm.Events.OnEventAttribute";

    private const string OwnedFd = "Vmm.Events.OwnedFd";
    private static readonly SymbolDisplayFormat FullName = SymbolDisplayFormat.FullyQualifiedFormat;

    internal static HandlerModel Read(GeneratorAttributeSyntaxContext context, CancellationToken cancellation)
    {
        IMethodSymbol method = (IMethodSymbol)context.TargetSymbol;
        List<Fault> faults = [];
        CheckShape(method, faults, cancellation);
        CheckTypes(method, faults, cancellation);
        (string fdType, List<string> arguments) = ReadParameters(method, faults);
        INamedTypeSymbol type = method.ContainingType;
        return new HandlerModel(
            FileHint: $"{type.ToDisplayString().Replace('<', '{').Replace('>', '}')}.{method.Name}.g.cs",
            Namespace: type.ContainingNamespace.IsGlobalNamespace ? "" : type.ContainingNamespace.ToDisplayString(),
            Types: new Sequence<string>([.. TypesAround(method).Reverse().Select(Declaration)]),
            TypeName: type.Name,
            Method: method.Name,
            Accessibility: SyntaxFacts.GetText(method.DeclaredAccessibility),
            IsStatic: method.IsStatic,
            OwnsSubscriptions: !method.IsStatic && DerivesFrom(type, "Vmm.Events.Subscriber"),
            DispatchAccessibility: SeesInternals(context) ? "protected internal" : "protected",
            FdType: fdType,
            Arguments: new Sequence<string>(arguments),
            Faults: new Sequence<Fault>(faults));
    }

    private static bool SeesInternals(GeneratorAttributeSyntaxContext context)
    {
        IAssemblySymbol library = context.Attributes[0].AttributeClass!.ContainingAssembly;
        IAssemblySymbol here = context.SemanticModel.Compilation.Assembly;
        return SymbolEqualityComparer.Default.Equals(library, here) || library.GivesAccessTo(here);
    }

    private static void CheckShape(IMethodSymbol method, List<Fault> faults, CancellationToken cancellation)
    {
        MethodDeclarationSyntax syntax = (MethodDeclarationSyntax)method.DeclaringSyntaxReferences[0].GetSyntax(cancellation);
        if (!method.ReturnsVoid)
            faults.Add(Fault.At(syntax.ReturnType.GetLocation(), Rules.NotPlain, method.Name,
                $"of type {method.ReturnType.ToDisplayString()}"));
        else if (method.IsAsync)
            faults.Add(Fault.At(syntax.Identifier.GetLocation(), Rules.NotPlain, method.Name, "async"));
        if (method.IsGenericMethod)
            faults.Add(Fault.At(syntax.TypeParameterList!.GetLocation(), Rules.NotPlain, method.Name, "generic"));

        bool isSecond = method.ContainingType.GetMembers(method.Name).OfType<IMethodSymbol>()
            .TakeWhile(other => !SymbolEqualityComparer.Default.Equals(other, method))
            .Any(other => other.GetAttributes().Any(attribute => attribute.AttributeClass?.ToDisplayString() == Attribute));
        if (isSecond)
            faults.Add(Fault.At(syntax.Identifier.GetLocation(), Rules.NameTaken, method.ContainingType.Name, method.Name));
    }

    private static void CheckTypes(IMethodSymbol method, List<Fault> faults, CancellationToken cancellation)
    {
        foreach (INamedTypeSymbol type in TypesAround(method))
        {
            TypeDeclarationSyntax syntax = (TypeDeclarationSyntax)type.DeclaringSyntaxReferences[0].GetSyntax(cancellation);
            bool isHost = SymbolEqualityComparer.Default.Equals(type, method.ContainingType);
            if (!syntax.Modifiers.Any(SyntaxKind.PartialKeyword) || (isHost && type.TypeKind != TypeKind.Class))
                faults.Add(Fault.At(syntax.Identifier.GetLocation(), Rules.NotPartial, type.Name, method.Name));
        }
    }

    private static (string FdType, List<string> Arguments) ReadParameters(IMethodSymbol method, List<Fault> faults)
    {
        string? fdType = null;
        List<string> arguments = [];
        foreach (IParameterSymbol parameter in method.Parameters)
        {
            (string argument, string what)? supplied = parameter.RefKind == RefKind.None ? Supply(parameter.Type) : null;
            if (supplied is null)
            {
                faults.Add(Fault.At(parameter.Locations[0], Rules.UnknownParameter, parameter.Name,
                    parameter.Type.ToDisplayString(), method.Name));
                continue;
            }
            if (arguments.Contains(supplied.Value.argument))
                faults.Add(Fault.At(parameter.Locations[0], Rules.TakenTwice, parameter.Name, supplied.Value.what));
            arguments.Add(supplied.Value.argument);
            if (supplied.Value.argument == "Fd") fdType = parameter.Type.ToDisplayString(FullName);
        }
        return (fdType ?? $"global::{OwnedFd}", arguments);
    }

    /// <summary>The argument for a parameter of a type, and what it is in words; null if there is none.</summary>
    private static (string Argument, string What)? Supply(ITypeSymbol type) => type.ToDisplayString() switch
    {
        "Vmm.Events.Readiness" => ("ready", "readiness"),
        "Vmm.Events.Interest" => ("Interest", "interest"),
        "Vmm.Events.IReactor" => ("reactor", "reactor"),
        _ when DerivesFrom(type, OwnedFd) => ("Fd", "descriptor"),
        _ => null,
    };

    private static bool DerivesFrom(ITypeSymbol type, string ancestor)
    {
        if (type is ITypeParameterSymbol parameter) return parameter.ConstraintTypes.Any(constraint => DerivesFrom(constraint, ancestor));
        for (ITypeSymbol? at = type; at is not null; at = at.BaseType)
        {
            if (at.ToDisplayString() == ancestor) return true;
        }
        return false;
    }

    private static IEnumerable<INamedTypeSymbol> TypesAround(IMethodSymbol method)
    {
        for (INamedTypeSymbol? type = method.ContainingType; type is not null; type = type.ContainingType) yield return type;
    }

    private static string Declaration(INamedTypeSymbol type)
    {
        string keyword = (type.IsRecord, type.TypeKind) switch
        {
            (true, TypeKind.Struct) => "record struct",
            (true, _) => "record",
            (_, TypeKind.Struct) => "struct",
            (_, TypeKind.Interface) => "interface",
            _ => "class",
        };
        string parameters = type.TypeParameters.Length == 0
            ? "" : $"<{string.Join(", ", type.TypeParameters.Select(parameter => parameter.Name))}>";
        return $"{keyword} {type.Name}{parameters}";
    }
}
