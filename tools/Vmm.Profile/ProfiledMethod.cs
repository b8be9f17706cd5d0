using System.Reflection;

namespace Vmm.Profile;

/// <summary>A method of a profile.</summary>
/// <param name="Method">The method, or null if there is none any more.</param>
/// <param name="Name">Its name, or what the runtime says about one that is gone.</param>
/// <param name="Data">Numbers and tokens of what was counted.</param>
internal sealed record ProfiledMethod(MethodBase? Method, string Name, IReadOnlyList<long> Data);
