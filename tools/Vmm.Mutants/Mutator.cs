using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Vmm.Mutants;

/// <summary>
/// Writes every change into one file at once, each behind a switch that is off: <c>a &lt; b</c> becomes <c>(Switch.Is(7) ? a &lt;= b : a
/// &lt; b)</c>. So one build serves all mutants. What the compiler refuses is left out by its place in the source.
/// </summary>
/// <param name="file">The file's name, for the list.</param>
/// <param name="model">The meaning of the unchanged file.</param>
/// <param name="left">Places that are left as they are, because the compiler refused them before.</param>
/// <param name="mutants">Where the changes are listed; the next one's number is its length plus one.</param>
internal sealed class Mutator(string file, SemanticModel model, IReadOnlySet<string> left, List<Mutant> mutants) : CSharpSyntaxRewriter
{
    /// <summary>Marks what belongs to a mutant, so that an error of the compiler is found to be its fault.</summary>
    internal const string Annotation = "mutant";

    private static readonly Dictionary<SyntaxKind, (SyntaxKind Expression, SyntaxKind Token)> Swapped = new()
    {
        [SyntaxKind.LessThanExpression] = (SyntaxKind.LessThanOrEqualExpression, SyntaxKind.LessThanEqualsToken),
        [SyntaxKind.LessThanOrEqualExpression] = (SyntaxKind.LessThanExpression, SyntaxKind.LessThanToken),
        [SyntaxKind.GreaterThanExpression] = (SyntaxKind.GreaterThanOrEqualExpression, SyntaxKind.GreaterThanEqualsToken),
        [SyntaxKind.GreaterThanOrEqualExpression] = (SyntaxKind.GreaterThanExpression, SyntaxKind.GreaterThanToken),
        [SyntaxKind.EqualsExpression] = (SyntaxKind.NotEqualsExpression, SyntaxKind.ExclamationEqualsToken),
        [SyntaxKind.NotEqualsExpression] = (SyntaxKind.EqualsExpression, SyntaxKind.EqualsEqualsToken),
        [SyntaxKind.AddExpression] = (SyntaxKind.SubtractExpression, SyntaxKind.MinusToken),
        [SyntaxKind.SubtractExpression] = (SyntaxKind.AddExpression, SyntaxKind.PlusToken),
        [SyntaxKind.BitwiseAndExpression] = (SyntaxKind.BitwiseOrExpression, SyntaxKind.BarToken),
        [SyntaxKind.BitwiseOrExpression] = (SyntaxKind.BitwiseAndExpression, SyntaxKind.AmpersandToken),
    };

    public override SyntaxNode? VisitAttributeList(AttributeListSyntax node) => node;

    public override SyntaxNode? VisitParameterList(ParameterListSyntax node) => node;

    public override SyntaxNode? VisitEnumDeclaration(EnumDeclarationSyntax node) => node;

    public override SyntaxNode? VisitCaseSwitchLabel(CaseSwitchLabelSyntax node) => node;

    public override SyntaxNode? VisitConstantPattern(ConstantPatternSyntax node) => node;

    public override SyntaxNode? VisitRelationalPattern(RelationalPatternSyntax node) => node;

    public override SyntaxNode? VisitFieldDeclaration(FieldDeclarationSyntax node) =>
        node.Modifiers.Any(SyntaxKind.ConstKeyword) ? node : base.VisitFieldDeclaration(node);

    public override SyntaxNode? VisitLocalDeclarationStatement(LocalDeclarationStatementSyntax node) =>
        node.IsConst ? node : base.VisitLocalDeclarationStatement(node);

    // Assertions say what must hold: without them, or with another condition, the program is the same.
    public override SyntaxNode? VisitExpressionStatement(ExpressionStatementSyntax node)
    {
        if (node.Expression is InvocationExpressionSyntax call && call.Expression.ToString() is "Debug.Assert" or "GC.KeepAlive")
            return node;
        SyntaxNode visited = base.VisitExpressionStatement(node)!;
        return Take(node, $"{Short(node)} is left out") is { } id && visited is StatementSyntax statement
            ? Mark(SyntaxFactory.IfStatement(Not(Is(id)), SyntaxFactory.Block(statement)), id)
            : visited;
    }

    public override SyntaxNode? VisitIfStatement(IfStatementSyntax node)
    {
        IfStatementSyntax visited = (IfStatementSyntax)base.VisitIfStatement(node)!;
        if (Take(node.Condition, $"if ({Short(node.Condition)}) never holds", "never") is { } never)
            visited = visited.WithCondition(Mark(And(Not(Is(never)), visited.Condition), never));
        if (node.Condition.DescendantNodesAndSelf().Any(each => each is SingleVariableDesignationSyntax)) return visited;
        return Take(node.Condition, $"if ({Short(node.Condition)}) always holds", "always") is { } always
            ? visited.WithCondition(Mark(Or(Is(always), visited.Condition), always))
            : visited;
    }

    public override SyntaxNode? VisitBinaryExpression(BinaryExpressionSyntax node)
    {
        SyntaxNode rewritten = base.VisitBinaryExpression(node)!;
        if (rewritten is not BinaryExpressionSyntax visited || model.GetConstantValue(node).HasValue) return node;
        if (node.IsKind(SyntaxKind.LogicalAndExpression))
        {
            return Take(node.Right, $"{Short(node)}: without {Short(node.Right)}") is { } id
                ? visited.WithRight(Mark(Or(Is(id), visited.Right), id)) : visited;
        }
        if (node.IsKind(SyntaxKind.LogicalOrExpression))
        {
            return Take(node.Right, $"{Short(node)}: without {Short(node.Right)}") is { } id
                ? visited.WithRight(Mark(And(Not(Is(id)), visited.Right), id)) : visited;
        }
        if (!Swapped.TryGetValue(node.Kind(), out (SyntaxKind Expression, SyntaxKind Token) other) || !IsSwappable(node)) return visited;
        return Take(node, $"{Short(node)}: {SyntaxFacts.GetText(other.Token)}", "swap") is { } swap
            ? Choose(swap,
                Plain(SyntaxFactory.BinaryExpression(other.Expression, node.Left, SyntaxFactory.Token(other.Token), node.Right)), visited)
            : visited;
    }

    public override SyntaxNode? VisitLiteralExpression(LiteralExpressionSyntax node)
    {
        if (node.Kind() is not (SyntaxKind.TrueLiteralExpression or SyntaxKind.FalseLiteralExpression)) return node;
        bool value = node.IsKind(SyntaxKind.TrueLiteralExpression);
        return Take(node, value ? "true: false" : "false: true") is { } id
            ? Mark(SyntaxFactory.ParenthesizedExpression(value ? Not(Is(id)) : Is(id)), id) : node;
    }

    public override SyntaxNode? VisitPostfixUnaryExpression(PostfixUnaryExpressionSyntax node) =>
        node.IsKind(SyntaxKind.SuppressNullableWarningExpression) ? base.VisitPostfixUnaryExpression(node) : node;

    private bool IsSwappable(BinaryExpressionSyntax node)
    {
        if (node.Kind() is SyntaxKind.EqualsExpression or SyntaxKind.NotEqualsExpression) return true;
        ITypeSymbol? type = model.GetTypeInfo(node.Left).Type;
        return type?.SpecialType is >= SpecialType.System_SByte and <= SpecialType.System_Double
                or SpecialType.System_IntPtr or SpecialType.System_UIntPtr
            || type is { TypeKind: TypeKind.Enum } or { Name: "TimeSpan" };
    }

    /// <summary>Lists a change, unless its place is left out.</summary>
    private int? Take(SyntaxNode node, string change, string kind = "")
    {
        string place = PlaceOf(file, node, kind);
        if (left.Contains(place)) return null;
        int line = node.GetLocation().GetLineSpan().StartLinePosition.Line + 1;
        mutants.Add(new Mutant(mutants.Count + 1, file, line, change));
        Places[mutants.Count] = place;
        return mutants.Count;
    }

    /// <summary>The place of each mutant, by its number.</summary>
    internal Dictionary<int, string> Places { get; } = [];

    private static string PlaceOf(string file, SyntaxNode node, string kind) =>
        $"{file}@{node.SpanStart}-{node.Span.End}{node.RawKind}{kind}";

    private static ParenthesizedExpressionSyntax Choose(int id, ExpressionSyntax changed, ExpressionSyntax original) => Mark(
        SyntaxFactory.ParenthesizedExpression(SyntaxFactory.ConditionalExpression(
            Is(id), SyntaxFactory.ParenthesizedExpression(changed), SyntaxFactory.ParenthesizedExpression(original))), id);

    private static ExpressionSyntax Is(int id) => SyntaxFactory.ParseExpression($"global::VmmMutant.Is({id})");

    private static PrefixUnaryExpressionSyntax Not(ExpressionSyntax expression) =>
        SyntaxFactory.PrefixUnaryExpression(SyntaxKind.LogicalNotExpression, SyntaxFactory.ParenthesizedExpression(expression));

    private static ParenthesizedExpressionSyntax And(ExpressionSyntax left, ExpressionSyntax right) =>
        Both(SyntaxKind.LogicalAndExpression, SyntaxKind.AmpersandAmpersandToken, left, right);

    private static ParenthesizedExpressionSyntax Or(ExpressionSyntax left, ExpressionSyntax right) =>
        Both(SyntaxKind.LogicalOrExpression, SyntaxKind.BarBarToken, left, right);

    private static ParenthesizedExpressionSyntax Both(SyntaxKind kind, SyntaxKind token, ExpressionSyntax left, ExpressionSyntax right) =>
        SyntaxFactory.ParenthesizedExpression(SyntaxFactory.BinaryExpression(
            kind, left, SyntaxFactory.Token(token), SyntaxFactory.ParenthesizedExpression(right)));

    private static T Plain<T>(T node) where T : SyntaxNode => node.WithoutTrivia().NormalizeWhitespace();

    private static T Mark<T>(T node, int id) where T : SyntaxNode =>
        node.WithAdditionalAnnotations(new SyntaxAnnotation(Annotation, $"{id}"));

    private static string Short(SyntaxNode node)
    {
        const int lengthMax = 90;
        string text = string.Join(' ', node.ToString().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return text.Length <= lengthMax ? text : text[..(lengthMax - 1)] + "…";
    }
}
