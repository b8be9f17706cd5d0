using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Vmm.Events.Generators;

/// <summary>For each method marked [OnEvent]: its subscription, or the reason at the place where it is.</summary>
[Generator(LanguageNames.CSharp)]
public sealed class OnEventGenerator : IIncrementalGenerator
{
    /// <inheritdoc/>
    public void Initialize(IncrementalGeneratorInitializationContext context)
    {
        IncrementalValuesProvider<HandlerModel> handlers = context.SyntaxProvider.ForAttributeWithMetadataName(
            HandlerReader.Attribute, static (node, _) => node is MethodDeclarationSyntax, HandlerReader.Read);
        context.RegisterSourceOutput(handlers, static (output, handler) =>
        {
            foreach (Fault fault in handler.Faults) output.ReportDiagnostic(fault.ToDiagnostic());
            if (handler.Faults.Count == 0) output.AddSource(handler.FileHint, SubscriptionWriter.Write(handler));
        });
    }
}
