namespace Vmm.Tool;

/// <summary>A key or a flag that the syntax of an option's value names: <c>queues=N</c>, <c>ro</c>.</summary>
/// <param name="Name">The word.</param>
/// <param name="Values">What its value looks like, by words or by placeholders in capitals; empty for a flag.</param>
/// <param name="Part">Which part of the syntax it belongs to: of the keys of a part one is given.</param>
/// <param name="IsOptional">Whether none of the part may be given.</param>
internal sealed record SpecKey(string Name, string[] Values, int Part, bool IsOptional)
{
    internal bool IsFlag => Values.Length == 0;

    /// <summary>What a configuration file may say for it.</summary>
    internal ValueKinds Kinds
    {
        get
        {
            ValueKinds kinds = IsFlag ? ValueKinds.Boolean : ValueKinds.None;
            foreach (string value in Values)
            {
                kinds |= value switch
                {
                    "N" or "MIB" => ValueKinds.Integer,
                    "SECONDS" => ValueKinds.Number,
                    "SIZE" => ValueKinds.Integer | ValueKinds.Text,
                    _ => ValueKinds.Text,
                };
            }
            return kinds;
        }
    }

    /// <summary>The words it takes.</summary>
    internal string[] Choices => Array.FindAll(Values, IsWord);

    /// <summary>The keys and flags of a syntax such as <c>path=PATH[,ro][,cache=none|writeback]</c>.</summary>
    internal static IReadOnlyList<SpecKey> Of(string syntax)
    {
        // 'limit=iops=N' is the key 'iops': a word that says what it is for.
        const string Limit = "limit=";
        List<SpecKey> keys = [];
        bool isOptional = false;
        int number = 0;
        for (int at = 0, end; at < syntax.Length; at = end + 1)
        {
            end = syntax.AsSpan(at).IndexOfAny("[],") is var length and >= 0 ? at + length : syntax.Length;
            string part = syntax[at..end];
            if (part.StartsWith(Limit, StringComparison.Ordinal)) part = part[Limit.Length..];
            foreach (string word in part.Split('|', StringSplitOptions.RemoveEmptyEntries)) Add(word, number);
            number++;
            if (end < syntax.Length && syntax[end] != ',') isOptional = syntax[end] == '[';
        }
        return keys;

        void Add(string word, int part)
        {
            int equals = word.IndexOf('=', StringComparison.Ordinal);
            SpecKey? before = keys.Count > 0 && keys[^1].Part == part ? keys[^1] : null;
            if (equals > 0) keys.Add(new SpecKey(word[..equals], [word[(equals + 1)..]], part, isOptional));
            // Of 'keep=SIZE|discard' the second is a flag; of 'engine=ring|threads' and 'path=PATH|URI' it is a value.
            else if (before is { IsFlag: false } && (!IsWord(word) || IsWord(before.Values[^1])))
                keys[^1] = before with { Values = [.. before.Values, word] };
            else if (IsWord(word)) keys.Add(new SpecKey(word, [], part, isOptional));
        }
    }

    private static bool IsWord(string text) => char.IsAsciiLetterLower(text[0]);
}
