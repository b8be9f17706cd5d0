namespace Vmm.Devices;

/// <summary>How an image is opened.</summary>
/// <param name="ReadOnly">Whether it takes no writes.</param>
/// <param name="Engine">What moves its bytes.</param>
/// <param name="Direct">Whether its bytes go past the page cache.</param>
/// <param name="DontCache">Whether the page cache keeps nothing of a request.</param>
/// <param name="LockWait">How long it is waited for while it is locked by what no process shows.</param>
internal readonly record struct ImageUse(bool ReadOnly, BlockEngineKind Engine, bool Direct, bool DontCache, TimeSpan LockWait);
