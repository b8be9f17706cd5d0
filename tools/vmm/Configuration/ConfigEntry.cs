namespace Vmm.Tool;

/// <summary>What a configuration file says for one option once.</summary>
/// <param name="Setting">The setting.</param>
/// <param name="Text">The value, as the command line would say it.</param>
/// <param name="At">Where the value stands.</param>
/// <param name="Parts">What the value is made of, if that is a table.</param>
internal sealed record ConfigEntry(Setting Setting, string Text, int At, IReadOnlyList<ConfigPart> Parts)
{
    /// <summary>A device, which a table describes.</summary>
    internal static ConfigEntry OfTable(Setting setting, int at, IReadOnlyList<ConfigPart> parts)
    {
        string text = ((DeviceOption)setting.Option).Kind.Join(parts.Select(part => KeyValuePair.Create(part.Key, part.Value)));
        return new ConfigEntry(setting, text.Length == 0 && setting.Kinds.HasFlag(ValueKinds.Boolean) ? "true" : text, at, parts);
    }

    /// <summary>The words of a command line that say the same. The first form has a value that begins with '-' understood too.</summary>
    internal string[] Words => Text.Length > 0 ? [$"{Setting.Option.Name}={Text}"] : [Setting.Option.Name, ""];

    /// <summary>The part that a sentence of the option is about: the last one it quotes; null for all of it.</summary>
    internal ConfigPart? PartIn(string sentence)
    {
        ConfigPart? found = null;
        // Behind the option there may be the whole text, which begins with a key.
        int last = Setting.Option.Name.Length + 1;
        foreach (ConfigPart part in Parts)
        {
            int quoted = Math.Max(sentence.LastIndexOf($"'{part.Key}=", StringComparison.Ordinal),
                sentence.LastIndexOf($"'{part.Key}'", StringComparison.Ordinal));
            if (quoted > last) (found, last) = (part, quoted);
        }
        return found;
    }
}

/// <summary>A key of a table that describes a device.</summary>
/// <param name="Key">The key.</param>
/// <param name="Value">Its value, as the command line would say it; null for a flag.</param>
/// <param name="At">Where the value stands.</param>
internal sealed record ConfigPart(string Key, string? Value, int At);
