using System.Reflection;

namespace Vmm.Tool;

/// <summary>The version of this program.</summary>
internal static class ToolVersion
{
    /// <summary>Without the commit it was built from.</summary>
    internal static string Text =>
        typeof(CommandTree).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "";
}
